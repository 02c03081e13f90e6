#pragma OPENCL EXTENSION cl_khr_fp64 : enable  
#pragma OPENCL EXTENSION cl_khr_fp16 : enable  
#pragma OPENCL EXTENSION cl_khr_int64_base_atomics : enable  
__kernel void shrink(__global long *_kernel_context, __constant uchar *_constant_region, __local uchar *_local_region, __global int *_atomics, __global uchar *sizes, __global uchar *counts, __global uchar *sortedTokenIds, __global uchar *blockExperts, __global uchar *blockAdapters, __global uchar *slices, __global uchar *scales, __global uchar *pool, __global uchar *x, __global uchar *z, __private int rows, __private int zStride)
{
  float f_85, f_106, f_91, f_92, f_78, f_100; 
  int i_10, i_74, i_11, i_75, i_76, i_13, i_77, i_70, i_71, i_72, i_73, i_66, i_68, i_69, i_26, i_29, i_93, i_86, i_24, i_18, i_14, i_15, i_79, i_16, i_80, i_17, i_42, i_43, i_107, i_108, i_39, i_40, i_41, i_35, i_37, i_101, i_30, i_94, i_95, i_58, i_59, i_60, i_61, i_54, i_55, i_48, i_49; 
  long l_103, l_104, l_102, l_33, l_97, l_98, l_31, l_32, l_96, l_89, l_87, l_88, l_21, l_22, l_83, l_20, l_81, l_82, l_63, l_64, l_62, l_51, l_52, l_50, l_45, l_46, l_44; 
  ulong ul_47, ul_38, ul_36, ul_105, ul_28, ul_34, ul_99, ul_23, ul_84, ul_90, ul_25, ul_12, ul_6, ul_7, ul_4, ul_5, ul_8, ul_9, ul_2, ul_3, ul_67, ul_0, ul_1, ul_65, ul_53, ul_57; 
  bool b_19, b_56, b_27; 

  // BLOCK 0
  ul_0  =  (ulong) sizes;
  ul_1  =  (ulong) counts;
  ul_2  =  (ulong) sortedTokenIds;
  ul_3  =  (ulong) blockExperts;
  ul_4  =  (ulong) blockAdapters;
  ul_5  =  (ulong) slices;
  ul_6  =  (ulong) scales;
  ul_7  =  (ulong) pool;
  ul_8  =  (ulong) x;
  ul_9  =  (ulong) z;
  i_10  =  get_global_size(1);
  i_11  =  get_global_size(0);
  ul_12  =  ul_1 + 512L;
  i_13  =  get_global_id(1);
  i_14  =  get_global_id(0);
  // BLOCK 1 MERGES [0 15 ]
  i_15  =  i_14;
  for(;i_15 < 64;)
  {
    // BLOCK 2
    // BLOCK 3 MERGES [2 14 ]
    i_16  =  i_13;
    for(;i_16 < 12;)
    {
      // BLOCK 4
      i_17  =  *((__global int *) ul_12);
      i_18  =  i_10 + i_16;
      b_19  =  i_15 < i_17;
      if(b_19)
      {
        // BLOCK 5
        l_20  =  (long) i_15;
        l_21  =  l_20 + 128L;
        l_22  =  l_21 << 2;
        ul_23  =  ul_2 + l_22;
        i_24  =  *((__global int *) ul_23);
        ul_25  =  ul_1 + 528L;
        i_26  =  *((__global int *) ul_25);
        b_27  =  i_24 < i_26;
        if(b_27)
        {
          // BLOCK 6
          ul_28  =  ul_1 + 532L;
          i_29  =  *((__global int *) ul_28);
          i_30  =  i_15 / i_29;
          l_31  =  (long) i_30;
          l_32  =  l_31 + 128L;
          l_33  =  l_32 << 2;
          ul_34  =  ul_4 + l_33;
          i_35  =  *((__global int *) ul_34);
          ul_36  =  ul_0 + 528L;
          i_37  =  *((__global int *) ul_36);
          ul_38  =  ul_3 + l_33;
          i_39  =  *((__global int *) ul_38);
          i_40  =  i_35 * i_37;
          i_41  =  i_40 + i_39;
          i_42  =  i_41 << 4;
          i_43  =  i_42 + 2;
          l_44  =  (long) i_43;
          l_45  =  l_44 + 128L;
          l_46  =  l_45 << 2;
          ul_47  =  ul_5 + l_46;
          i_48  =  *((__global int *) ul_47);
          i_49  =  i_42 + 10;
          l_50  =  (long) i_49;
          l_51  =  l_50 + 128L;
          l_52  =  l_51 << 2;
          ul_53  =  ul_5 + l_52;
          i_54  =  *((__global int *) ul_53);
          i_55  =  i_48 + i_54;
          b_56  =  i_16 < i_55;
          if(b_56)
          {
            // BLOCK 7
            ul_57  =  ul_0 + 512L;
            i_58  =  *((__global int *) ul_57);
            i_59  =  (i_16 < i_48) ? 0 : 1;
            i_60  =  i_59 << 3;
            i_61  =  i_60 + i_42;
            l_62  =  (long) i_61;
            l_63  =  l_62 + 128L;
            l_64  =  l_63 << 2;
            ul_65  =  ul_5 + l_64;
            i_66  =  *((__global int *) ul_65);
            ul_67  =  ul_0 + 532L;
            i_68  =  *((__global int *) ul_67);
            i_69  =  i_24 / i_68;
            i_70  =  i_58 * i_69;
            i_71  =  i_59 * i_48;
            i_72  =  i_16 - i_71;
            i_73  =  i_72 * i_58;
            i_74  =  i_73 + i_66;
            i_75  =  i_15 << 3;
            i_76  =  i_15 << 2;
            i_77  =  i_75 + i_76;
            // BLOCK 8 MERGES [7 9 ]
            f_78  =  0.0F;
            i_79  =  0;
            for(;i_79 < i_58;)
            {
              // BLOCK 9
              i_80  =  i_74 + i_79;
              l_81  =  (long) i_80;
              l_82  =  l_81 + 128L;
              l_83  =  l_82 << 2;
              ul_84  =  ul_7 + l_83;
              f_85  =  *((__global float *) ul_84);
              i_86  =  i_70 + i_79;
              l_87  =  (long) i_86;
              l_88  =  l_87 + 128L;
              l_89  =  l_88 << 2;
              ul_90  =  ul_8 + l_89;
              f_91  =  *((__global float *) ul_90);
              f_92  =  fma(f_85, f_91, f_78);
              i_93  =  i_79 + 1;
              f_78  =  f_92;
              i_79  =  i_93;
            }  // B8
            // BLOCK 10
            i_94  =  i_41 << 1;
            i_95  =  i_94 + i_59;
            l_96  =  (long) i_95;
            l_97  =  l_96 + 128L;
            l_98  =  l_97 << 2;
            ul_99  =  ul_6 + l_98;
            f_100  =  *((__global float *) ul_99);
            i_101  =  i_77 + i_16;
            l_102  =  (long) i_101;
            l_103  =  l_102 + 128L;
            l_104  =  l_103 << 2;
            ul_105  =  ul_9 + l_104;
            f_106  =  f_100 * f_78;
            *((__global float *) ul_105)  =  f_106;
          }  // B6
          else
          {
            // BLOCK 11
          }  // B6
        }  // B5
        else
        {
          // BLOCK 12
        }  // B5
      }  // B4
      else
      {
        // BLOCK 13
      }  // B4
      // BLOCK 14 MERGES [13 10 11 12 ]
      i_107  =  i_18;
      i_16  =  i_107;
    }  // B3
    // BLOCK 15
    i_108  =  i_11 + i_15;
    i_15  =  i_108;
  }  // B1
  // BLOCK 16
  return;
}  //  kernel
